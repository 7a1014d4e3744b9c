"""params.yaml, encoders.yaml and recipes.yaml as typed settings: the one place that knows the keys.

Only the stage `settings` depends on this package. DVC tracks the values that the others read.
"""
