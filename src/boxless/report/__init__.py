"""What people look at: curves and tables as files, and the page of a run."""
