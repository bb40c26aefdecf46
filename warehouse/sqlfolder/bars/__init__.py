"""The statements of sql/bars, which build bars one after the other (`bar_file`)."""
