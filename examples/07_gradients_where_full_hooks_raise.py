"""A full backward hook is no observer: before an in-place ReLU the forward pass itself raises.

It wraps the module's output in a view, and PyTorch forbids in-place writes to that view.  A trace
puts nothing into the graph, so it reports the same gradients where such hooks cannot go.
"""

import torch
from torchvision.models import alexnet

import hooktrace as ht

torch.manual_seed(0)
net = alexnet().eval()
images = torch.randn(1, 3, 224, 224)

handle = net.features[0].register_full_backward_hook(lambda module, grad_input, grad_output: None)
try:
    with ht.trace(net) as t:
        net(images)
except RuntimeError as error:
    print(f"PyTorch: {str(error).split('. ')[0]}.")
    print(f"It was raised in {[str(call) for call in t.calls() if call.exception][-1]}.")
handle.remove()

images.requires_grad_()
with ht.trace(net, keep=["features.0"]) as t:
    net(images).sum().backward()

call = t["features.0"]
print(f"\nWithout the hook, {call}:")
print(f"  grad_output {tuple(call.grad_output.shape)}, norm {call.grad_output.norm():.4f}")
print(f"  grad_input  {tuple(call.grad_input.shape)}, norm {call.grad_input.norm():.4f}")
print(f"  the same as images.grad: {torch.equal(call.grad_input, images.grad)}")
