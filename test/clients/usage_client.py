"""Reads the usage and costs of an organization with OpenAI's client, page by page, and prints them as JSON."""

import json
import sys

from openai import OpenAI

base_url, key, start, end = sys.argv[1:]
usage = OpenAI(base_url=base_url, api_key=key, admin_api_key=key, max_retries=0).admin.organization.usage
period = {"start_time": int(start), "end_time": int(end)}


def every_bucket(ask, **query):
    """The buckets of all pages, as the client's own types."""
    buckets, page = [], None
    while True:
        found = ask(**period, **query, **({"page": page} if page else {}))
        buckets += found.data
        if not found.has_more:
            return buckets
        page = found.next_page


completions = every_bucket(usage.completions, bucket_width="1d", limit=4, group_by=["model", "user_id"])
costs = every_bucket(usage.costs, limit=3, group_by=["line_item"])
print(
    json.dumps(
        {
            "kinds": sorted({type(one).__name__ for bucket in completions + costs for one in bucket.results}),
            "starts": [bucket.start_time for bucket in completions],
            "tokens": [
                [one.model, one.user_id, one.input_tokens, one.output_tokens, one.num_model_requests]
                for bucket in completions
                for one in bucket.results
            ],
            "costs": [
                [one.line_item, one.amount.currency, one.amount.value] for bucket in costs for one in bucket.results
            ],
            "others": [
                len(every_bucket(getattr(usage, name), bucket_width="1d", limit=31))
                for name in ("embeddings", "moderations", "images", "audio_speeches", "vector_stores")
            ],
        }
    )
)
