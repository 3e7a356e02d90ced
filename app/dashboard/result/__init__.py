"""The page of a finished job."""
