"""The tests of aiorq2; a package so that ``tests.support`` can be imported by tests and by workers they start."""
