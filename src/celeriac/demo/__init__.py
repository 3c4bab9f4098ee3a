"""`celeriac demo`: a real worker on a real load, on the embedded broker, with failures, retries and a killed process.

sources   which files there are to measure, and how many of them fit into the time
measure   what is found out about one file
app       the app: the tasks that the worker runs
website   the web server that fails at random
process   the worker, a program of its own, and the executor that is killed
progress  where the run stands, read from the results
screen    what is shown meanwhile
report    the closing table, and the check
run       all of it, in order
"""
