"""What the scripts of Recipe Butler share."""

from butler import interpreter as interpreter
