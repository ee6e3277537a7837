"""Stand-in for the package vllm: for tests of how its process is started, watched and ended. It answers nothing but
/health.
"""
