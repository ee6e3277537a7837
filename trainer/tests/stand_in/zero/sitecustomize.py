"""For tests of DeepSpeed on CPUs: ranks talk through gloo alone, and a run may go without its canary."""

import importlib.abc
import importlib.util
import os
import sys


class _Changed(importlib.abc.MetaPathFinder):
    """Replaces one function of a module as soon as that is imported."""

    def __init__(self, module, function, instead):
        self.module, self.function, self.instead = module, function, instead

    def find_spec(self, name, path=None, target=None):
        if name != self.module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            setattr(module, self.function, self.instead)

        spec.loader.exec_module = exec_module
        return spec


# DeepSpeed would compile a kernel for ranks of one machine first.
sys.meta_path.insert(0, _Changed("deepspeed.comm.torch", "build_shm_op", lambda: None))
if os.environ.get("FTL_TEST_NO_CANARY"):
    sys.meta_path.insert(0, _Changed("finetune_trainer.training.canary", "run", lambda *_: None))
