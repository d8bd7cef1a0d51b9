"""One folder per view: a pure fold, and the table it keeps."""
