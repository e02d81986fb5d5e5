"""Inputs made up by libFuzzer for the native handlers, whose C lies beside this; docs/fuzzing.md."""
