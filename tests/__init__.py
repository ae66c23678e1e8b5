"""The tests of `runner`; a package, so that `tests.elasticsearch` never hides the client `elasticsearch`."""
