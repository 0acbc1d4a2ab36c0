"""Operators that the graph of a .pt2 may call: those that timm's networks and our detectors are made of.

They were collected from exports of 414 models of all of timm 1.0.31's 98 files, and completed by their like. None may
name a file (``aten.from_file`` writes to any), see memory that is not its own (``as_strided``, ``empty``) or hold a
graph.
"""

_ATEN = """
    abs.default adaptive_avg_pool1d.default _adaptive_avg_pool2d.default adaptive_avg_pool2d.default
    adaptive_max_pool2d.default add.Scalar add.Tensor add_.Tensor addcmul.default addmm.default alias.default
    all.dim amax.default amin.default any.dim arange.default arange.start arange.start_step argmax.default
    _assert_scalar.default _assert_tensor_metadata.default avg_pool1d.default avg_pool2d.default avg_pool3d.default
    baddbmm.default batch_norm.default bitwise_not.default bmm.default cat.default ceil.default celu.default
    celu_.default channel_shuffle.default chunk.default clamp.Tensor clamp.default clamp_.default clamp_max.default
    clamp_min.default clone.default col2im.default constant_pad_nd.default contiguous.default conv1d.default
    conv2d.default conv2d.padding conv3d.default conv_transpose2d.input copy_.default cos.default cumsum.default
    detach.default detach_.default div.Scalar div.Tensor div.Tensor_mode div_.Tensor dropout.default
    dropout_.default einsum.default elu.default elu_.default embedding.default eq.Scalar eq.Tensor erf.default
    exp.default exp_.default expand.default expand_as.default eye.default eye.m feature_dropout.default
    flatten.using_ints flip.default floor.default floor_divide.default full.default full_like.default gather.default
    ge.Scalar ge.Tensor gelu.default glu.default group_norm.default gt.Scalar gt.Tensor hardsigmoid.default
    hardsigmoid_.default hardswish.default hardswish_.default hardtanh.default hardtanh_.default im2col.default
    index.Tensor index_select.default instance_norm.default layer_norm.default le.Scalar le.Tensor
    leaky_relu.default leaky_relu_.default lift_fresh_copy.default linalg_vector_norm.default linear.default
    linspace.default log.default log_sigmoid.default log_softmax.int logical_and.default logical_not.default
    logical_or.default lstm.input lt.Scalar lt.Tensor masked_fill.Scalar matmul.default max.default max.dim
    max_pool1d.default max_pool2d.default maximum.default mean.default mean.dim meshgrid.indexing min.default
    min.dim minimum.default mish.default mish_.default mm.default movedim.int mul.Scalar mul.Tensor mul_.Scalar
    mul_.Tensor mv.default narrow.default ne.Scalar ne.Tensor neg.default new_full.default new_ones.default
    new_zeros.default norm.ScalarOpt_dim one_hot.default ones.default ones_like.default pad.default permute.default
    pixel_shuffle.default pixel_unshuffle.default pow.Scalar pow.Tensor_Scalar pow.Tensor_Tensor prelu.default
    prod.dim_int reciprocal.default relu.default relu6.default relu6_.default relu_.default remainder.Scalar
    repeat.default repeat_interleave.self_int reshape.default reshape_as.default rms_norm.default roll.default
    rot90.default round.default rsqrt.default rsub.Scalar rsub.Tensor scaled_dot_product_attention.default
    scatter.src select.int selu.default selu_.default sigmoid.default sigmoid_.default sign.default silu.default
    silu_.default sin.default slice.Tensor softmax.int softplus.default sort.default split.Tensor split.sizes
    split_with_sizes.default sqrt.default square.default squeeze.default squeeze.dim squeeze.dims stack.default
    sub.Scalar sub.Tensor sub_.Tensor sum.default sum.dim_IntList swapaxes.default
    sym_constrain_range_for_size.default sym_size.int t.default tanh.default tanh_.default tile.default to.device
    to.dtype to.dtype_layout topk.default transpose.int tril.default triu.default type_as.default unbind.int
    unflatten.int unfold.default unsqueeze.default upsample_bicubic2d.vec _upsample_bicubic2d_aa.vec
    upsample_bilinear2d.default upsample_bilinear2d.vec _upsample_bilinear2d_aa.vec upsample_nearest2d.default
    upsample_nearest2d.vec var.correction var.dim var_mean.correction view.default view_as.default where.ScalarOther
    where.ScalarSelf where.self zeros.default zeros_like.default
""".split()  # noqa: SIM905 (a list literal would take a line each)
_ARITHMETIC = ("add", "sub", "mul", "mod", "floordiv", "eq", "ne", "ge", "gt", "le", "lt", "getitem")

OPERATORS = frozenset(
    [f"torch.ops.aten.{name}" for name in _ATEN]
    + [f"_operator.{name}" for name in _ARITHMETIC]
    + ["torch.ops.torchvision.nms.default"]
)
