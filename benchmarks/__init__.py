"""Speed and memory of this project against what one would use instead: `make benchmark`."""
