"""For tests: the conformance suites that every broker and every result backend passes, ours and yours."""
