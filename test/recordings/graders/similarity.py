"""Makes similarity.json beside it: what the reference implementations say of pairs of texts.

Run once in a throw-away environment: pip install sacrebleu==2.6.0 nltk==3.10.4 rouge-score==0.1.2 rapidfuzz==3.14.6
"""

import importlib.metadata
import json
import pathlib

import sacrebleu
from nltk.stem.porter import PorterStemmer
from nltk.translate.gleu_score import sentence_gleu
from nltk.translate.meteor_score import single_meteor_score
from rapidfuzz import fuzz
from rouge_score import rouge_scorer
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

PAIRS = [
    ("fuzzy wuzzy was a bear", "fuzzy wuzzy was a bear"),
    ("fuzzy wuzzy had no hair", "fuzzy wuzzy was a bear"),
    ("The cat sat on the mat.", "The cat is sitting on the mat, isn't it?"),
    ("", ""),
    ("", "something"),
    ("something", ""),
    ("a", "a"),
    ("yes", "no"),
    ("The quick brown fox jumps over the lazy dog.", "A quick brown dog jumped over the lazy foxes."),
    ("It costs $1,234.50 - or 10-15% less & more!", "It costs $1,234.5, or about 10% less; & no more."),
    ("running runs runner easily generalizations", "run ran running easy generalization"),
    ("the the the the the the the", "the cat is on the mat"),
    ("Paris is the capital of France", "The capital of France is Paris"),
    ("one two three four five six seven", "one two three four five six eight nine"),
    ("b a", "a b"),
    ("Line one\nline two-\nbroken &quot;quoted&quot;", 'Line one line two broken "quoted" text'),
    ("e-mail: foo@bar.com/x_y [ok] {no} ~", "email foo@bar.com x y ok no"),
    ("na\u00efve caf\u00e9 \u2014 d\u00e9j\u00e0 vu", "na\u00efve caf\u00e9, deja vu"),
    ("\U0001f600 smile \U0001f600", "\U0001f600 smiles"),
    ("x" * 70 + " tail", "y" + "x" * 68 + " tail end"),
    (
        "Your card was declined because the security code did not match our records.",
        "The payment was declined: the security code you entered does not match the one on record.",
    ),
    (
        "he read the book because he was interested in world history and it was a good book to read in the evening",
        "he was interested in world history because he read the book in the evening while it rained",
    ),
]


class NoSynonyms:
    """Stands for WordNet where only words and stems are compared."""

    def synsets(self, word: str) -> list:
        return []


def ascii_only(text: str) -> bool:
    return text.isascii()


def figures(said: str, wanted: str) -> dict:
    split = Tokenizer13a()
    a, b = split(said).split(), split(wanted).split()
    stemmer = PorterStemmer(mode=PorterStemmer.MARTIN_EXTENSIONS)
    found = {
        "fuzzy_match": fuzz.ratio(said, wanted) / 100,
        "bleu": sacrebleu.sentence_bleu(said, [wanted]).score / 100,
        "gleu": sentence_gleu([b], a),
        "meteor": single_meteor_score(b, a, stemmer=stemmer, wordnet=NoSynonyms()),
    }
    # rouge-score throws letters outside a-z away; there is nothing to compare with.
    if ascii_only(said + wanted):
        names = {f"rouge_{n}": f"rouge{n}" for n in range(1, 6)} | {"rouge_l": "rougeL"}
        scores = rouge_scorer.RougeScorer(list(names.values()), use_stemmer=False).score(wanted, said)
        found |= {ours: scores[theirs].fmeasure for ours, theirs in names.items()}
    return found


versions = {name: importlib.metadata.version(name) for name in ("sacrebleu", "nltk", "rouge-score", "rapidfuzz")}
made = {
    "from": f"similarity.py beside this file, with {versions}",
    "pairs": [{"input": said, "reference": wanted, "scores": figures(said, wanted)} for said, wanted in PAIRS],
}
target = pathlib.Path(__file__).with_suffix(".json")
target.write_text(json.dumps(made, indent=1, ensure_ascii=True) + "\n")
