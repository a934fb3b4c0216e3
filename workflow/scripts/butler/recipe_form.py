"""The headings of a recipe's answer: what the corpus stage writes and the recipe benchmark reads."""

INGREDIENTS_HEADING = "您需要准备以下食材:"
STEPS_HEADING = "按以下方法制作:"
