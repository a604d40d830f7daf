"""What the user writes: the profile, its rules, its providers, models, prices and keys."""
