"""Everything impure: command line, configuration, run directory, loggers, progress, plots, benchmark."""
