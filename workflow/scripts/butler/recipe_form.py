"""The headings of a recipe answer: the corpus stage writes them, the benchmark reads them."""

INGREDIENTS_HEADING = "您需要准备以下食材:"
STEPS_HEADING = "按以下方法制作:"
