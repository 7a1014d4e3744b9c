"""Speed and memory against what a user would pick instead, as ratios measured in one run."""
