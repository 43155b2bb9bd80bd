"""From words to a job: command lines, environment variables, saved configurations."""
