"""Raw recipes to training conversations: read, clean, judge, de-duplicate, split, write."""
