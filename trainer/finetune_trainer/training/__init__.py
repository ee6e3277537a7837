"""Training: rows and base model in, checkpoints and a fine-tuned model out. `train.py` prepares a run, `loop.py`
surrounds its steps.

transformers' Trainer calls the code of this package in this order, for one optimizer step:

 1. `collate` (methods) makes the micro-batches of the step from the rows that `RankBatches` (data/order.py) names.
 2. `Loop.on_step_begin` starts the step clock.
 3. For each micro-batch, `training_step` (methods/common.py):
    a. at the first one of the attempt only, `TrainingHooks.first_batch` reports the hashes of its rows;
    b. `_prepare_inputs` moves it to the device;
    c. `compute_loss` (the method's) gives the loss and counts tokens, and its gradient is computed.
 4. Trainer clips the gradients, steps optimizer and learning rate, and adds 1 to `global_step`.
 5. `Loop.on_step_end` stops the clock, lets all ranks agree on commands and signals, and decides what follows.
 6. `log` -> `TrainingHooks.report` sends the metrics; then `Guard.check` ends a run whose loss is NaN or diverges.
7. `_evaluate` -> `TrainingHooks.evaluate` -> `evaluate_rows` (the method's) scores validation rows; early stopping uses
the loss.
 8. `_save_checkpoint` -> `TrainingHooks.save` writes a checkpoint, queues its upload and generates samples.

5 decides whether 6, 7 and 8 happen, and whether this was the last step. Before the first step `Loop.on_train_begin`
runs the
memory dry run (canary.py), after the last one `Loop.on_train_end` records the peak memory and `Loop.finish` sends the
result.
"""
