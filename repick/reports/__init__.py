"""A run's report: what the database says of it (`gather`), and one page of HTML (`page`)."""
