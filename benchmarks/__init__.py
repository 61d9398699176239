"""What is measured, against other libraries and against the paper."""
