"""Prompts, responses and pairs, in and out.

A source is a file (`.jsonl`, `.json`, `.csv`, `.parquet`; the first three also with `.gz`), a
folder of such files, a folder of a run, or a data set on the hub (`OWNER/NAME` or
`OWNER/NAME:SPLIT`).
"""

from cpt.data.alpaca_eval.annotations import (
    Annotation,
    annotation_of,
    merged,
    read_annotations,
    write_annotations,
    write_outputs,
)
from cpt.data.alpaca_eval.difficulties import Difficulties, read_difficulties, read_regularizer
from cpt.data.by_prompt import ByPrompt, RowsByPrompt, rows_by_prompt
from cpt.data.pairs import (
    Unusable,
    each_pair,
    labels_of,
    pair_of,
    pairs_and_unusable,
    read_pairs,
    write_pairs,
    writing_pairs,
)
from cpt.data.prompts import NUMBERED, prompt_of, read_prompts, write_prompts
from cpt.data.responses import read_responses, write_responses
from cpt.data.rows.reading import read_rows, refuse_to_replace
from cpt.data.rows.row import Row
from cpt.data.rows.subset import write_subset

__all__ = [
    "NUMBERED",
    "Annotation",
    "ByPrompt",
    "Difficulties",
    "Row",
    "RowsByPrompt",
    "Unusable",
    "annotation_of",
    "each_pair",
    "labels_of",
    "merged",
    "pair_of",
    "pairs_and_unusable",
    "prompt_of",
    "read_annotations",
    "read_difficulties",
    "read_pairs",
    "read_prompts",
    "read_regularizer",
    "read_responses",
    "read_rows",
    "refuse_to_replace",
    "rows_by_prompt",
    "write_annotations",
    "write_outputs",
    "write_pairs",
    "write_prompts",
    "write_responses",
    "write_subset",
    "writing_pairs",
]
