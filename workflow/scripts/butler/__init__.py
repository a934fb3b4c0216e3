"""What the scripts of Recipe Butler share."""
