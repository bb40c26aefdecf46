"""Reference tables as files: corporate actions and names, as `reference_files` writes and reads."""
