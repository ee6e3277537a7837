"""Answers each line (a JSON list of texts) with what Presidio finds in them. Makes no connection to other machines."""

import json
import sys

import spacy
import tldextract
from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import SpacyNlpEngine

MIN_SCORE = 0.4
"""The lowest score that counts. A plain pattern, such as nine digits, scores less unless a word nearby names it."""

# The list of public suffixes that is in the package: it would otherwise be fetched.
tldextract.extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)


class InstalledEngine(SpacyNlpEngine):
    """The largest spaCy model of the language that is installed; without one, patterns only."""

    def __init__(self, language: str) -> None:
        """Look for a model."""
        packages = sorted(spacy.util.get_installed_models(), key=lambda name: "trf lg md sm".find(name[-2:]))
        found = next((name for name in packages if name.startswith(f"{language}_")), None)
        super().__init__(models=[{"lang_code": language, "model_name": found or "blank"}])
        self.nlp = {language: spacy.load(found) if found else spacy.blank(language)}

    def load(self) -> None:
        """Keep what is loaded."""

    def is_loaded(self) -> bool:
        """Say that the model is loaded."""
        return True


def utf16(text: str, index: int) -> int:
    """Return an index of a text in UTF-16 units, as JavaScript counts."""
    return len(text[:index].encode("utf-16-le", "surrogatepass")) // 2


def main(language: str) -> None:
    """Serve until standard input ends."""
    analyzer = AnalyzerEngine(nlp_engine=InstalledEngine(language), supported_languages=[language])
    for line in sys.stdin:
        answers = []
        for text in json.loads(line):
            found = analyzer.analyze(text, language=language, score_threshold=MIN_SCORE) if text.strip() else []
            answers.append(
                [
                    {
                        "entity": one.entity_type,
                        "start": utf16(text, one.start),
                        "end": utf16(text, one.end),
                        "score": one.score,
                    }
                    for one in found
                ]
            )
        print(json.dumps(answers), flush=True)


main(sys.argv[1])
