"""What detectron2's tools/lazyconfig_train_net.py wants to know beside model, data, optimizer and schedule.

`mixtransfer detect train` takes max_iter, eval_period and amp from it, and has its own ways for the rest.
"""

train = dict(
    output_dir="./output",
    init_checkpoint="",
    max_iter=1,
    amp=dict(enabled=False),
    ddp=dict(broadcast_buffers=True, find_unused_parameters=False, fp16_compression=False),
    checkpointer=dict(period=5000, max_to_keep=2),
    eval_period=5000,
    log_period=20,
    device="cuda",
)
