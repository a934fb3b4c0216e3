"""The files that the corpus stage reads: one small adapter for each kind.

To add one, write a function from a decoded entry to a Recipe or a Pair and name it here.
"""

from butler.corpus.formats import conversations, tables
from butler.corpus.formats.entry import Format
from butler.corpus.formats.markdown import recipe as markdown_recipe
from butler.corpus.records import read_recipe

_LINES = (".jsonl", ".json", ".ndjson")
FORMATS = {
    "xiachufang": Format("json", _LINES, read_recipe, recipes=True),
    "alpaca": Format("json", _LINES, conversations.alpaca),
    "sharegpt": Format("json", _LINES, conversations.sharegpt),
    "xtuner": Format("json", _LINES, conversations.xtuner),
    "qa_table": Format("table", (".csv", ".xlsx", ".xls", ".xlsb", ".ods"), tables.pair),
    "markdown": Format("text", (".md", ".markdown"), markdown_recipe, recipes=True),
}
