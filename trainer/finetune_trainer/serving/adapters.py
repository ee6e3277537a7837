"""The adapters of a loaded model: loaded and dropped while it runs, one of them active at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..protocol.failures import ModelLoad


class Adapters:
    """LoRA adapters by public name. Only the thread that computes may call it, except `names`."""

    def __init__(self, model: Any) -> None:
        self.names: tuple[str, ...] = ()
        self._model = model
        self._peft: Any = None
        self._inner: dict[str, str] = {}  # public name -> name inside PEFT, which allows no dots
        self._retired: set[str] = set()  # replaced or unloaded, while answers may still use them
        self._made = 0
        self._active: str | None = None
        self._is_known = False  # whether `_active` is what the model answers as

    def load(self, name: str, directory: Path) -> None:
        """Loads an adapter, and replaces one of that name. Raises ModelLoad when it does not fit."""
        from peft import PeftModel

        inner = f"a{self._made}"
        self._made += 1
        try:
            if self._peft is None:
                self._peft = PeftModel.from_pretrained(
                    self._model, directory, adapter_name=inner, local_files_only=True
                )
            else:
                self._peft.load_adapter(directory, adapter_name=inner, local_files_only=True)
        except (ValueError, RuntimeError, KeyError, TypeError, OSError) as error:
            raise ModelLoad(f"adapter {name} does not fit the base model: {error}") from error
        self._peft.eval()
        if name in self._inner:
            self._retired.add(self._inner[name])
        self._inner[name] = inner
        self.names, self._is_known = tuple(self._inner), False

    def unload(self, name: str) -> bool:
        """Unloads an adapter; False when no adapter has that name."""
        inner = self._inner.pop(name, None)
        if inner is None:
            return False
        self.names = tuple(self._inner)
        self._retired.add(inner)
        return True

    def free(self, used: set[str | None]) -> None:
        """Frees the weights that no name stands for any more, except those still `used`."""
        for inner in self._retired - used:
            self._peft.delete_adapter(inner)
            self._retired.remove(inner)
            self._is_known = False

    def inner(self, name: str) -> str | None:
        """What identifies the weights that a name stands for now; None for the base model."""
        return self._inner.get(name)

    def select(self, inner: str | None) -> None:
        """Makes the model answer with these weights; does nothing when it already does."""
        if self._peft is None or (self._is_known and inner == self._active):
            return
        layers = self._peft.base_model
        if inner is None:
            layers.disable_adapter_layers()
        else:
            layers.enable_adapter_layers()
            self._peft.set_adapter(inner)
        self._active, self._is_known = inner, True
