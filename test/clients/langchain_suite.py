"""LangChain's standard tests of a chat model, run against this server by suites.test.ts."""

from __future__ import annotations

import os

from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests


class TestChatModel(ChatModelIntegrationTests):
    @property
    def chat_model_class(self) -> type[ChatOpenAI]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, object]:
        return {
            "model": os.environ["SUITE_MODEL"],
            "base_url": os.environ["SUITE_URL"],
            "api_key": os.environ["SUITE_KEY"],
            "temperature": 0,
            "max_tokens": 80,
            "stream_usage": True,
        }

    @property
    def supports_json_mode(self) -> bool:
        return True
