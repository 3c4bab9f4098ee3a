"""URLs for the tests of django-user-tasks, which its archive leaves out."""

from django.contrib import admin
from django.urls import path
from user_tasks.urls import urlpatterns as user_tasks

urlpatterns = [path("admin/", admin.site.urls), *user_tasks]
