"""A checkpoint's scores on every task: everything here decides a score."""
