"""The commands, a file for each noun: read the options, call one function, print."""
