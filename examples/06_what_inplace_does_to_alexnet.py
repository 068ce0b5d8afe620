"""AlexNet's ReLUs write into the tensors that the convolutions returned.

A forward hook that stores `output` stores a tensor which is overwritten a moment later: all
negative entries become 0.  A trace keeps what the module *returned*, and says who overwrote it.
"""

import copy

import torch
from torch import nn
from torchvision.models import alexnet

import hooktrace as ht

torch.manual_seed(0)
original = alexnet().eval()
out_of_place = copy.deepcopy(original)
for module in out_of_place.modules():
    if isinstance(module, nn.ReLU):
        module.inplace = False
images = torch.randn(1, 3, 224, 224)

naive = {}
traces = {}
for name, net in (("inplace=True", original), ("inplace=False", out_of_place)):
    net.features[0].register_forward_hook(
        lambda module, args, output, name=name: naive.update({name: output.detach()})
    )
    with ht.trace(net, keep=["features.0", net]) as t:
        net(images).sum().backward()
    traces[name] = t

for name, t in traces.items():
    call = t["features.0"]
    print(f"{name}: the smallest value of features.0 is")
    print(f"  {naive[name].min().item():8.4f} in what a naive hook stored")
    print(f"  {call.output.min().item():8.4f} in what the trace kept")
    print(f"  {len(t.writes())} writes in place", end="")
    print(f", the first: {t.writes()[0]}" if t.writes() else "")

print()
print(ht.compare(traces["inplace=True"], traces["inplace=False"]))
