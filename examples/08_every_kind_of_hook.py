"""Every kind of hook that a training step meets, in the order in which PyTorch calls them.

`hooks()` foresees which hooks fire in which order; a trace shows that they did.
"""

import torch
from torch import nn

import hooktrace as ht

fired = []


def noting(name):
    def hook(*arguments):
        fired.append(name)

    hook.__qualname__ = name
    return hook


net, inputs = nn.Linear(2, 1), torch.ones(1, 2, requires_grad=True)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

net.register_forward_pre_hook(noting("before_forward"))
net.register_forward_hook(noting("after_forward"))
net.register_full_backward_pre_hook(noting("before_backward"))
net.register_full_backward_hook(noting("after_backward"))
net.weight.register_hook(noting("gradient_of_weight"))
net.weight.register_post_accumulate_grad_hook(noting("weight_has_grad"))
accumulator = torch.autograd.graph.get_gradient_edge(net.weight).node
accumulator.register_prehook(noting("before_node"))
accumulator.register_hook(noting("after_node"))
optimizer.register_step_pre_hook(noting("before_step"))
optimizer.register_step_post_hook(noting("after_step"))
net.register_state_dict_post_hook(noting("after_saving"))
net.register_load_state_dict_pre_hook(noting("before_loading"))

listed = ht.hooks(net, optimizer)
print(listed)

with ht.trace(net) as t:
    net(inputs).sum().backward()
    optimizer.step()
    net.load_state_dict(net.state_dict())

traced = [t.hooks[event.hook].name for event in t.of(ht.events.HookFired)]
print(f"\n{len(fired)} hooks fired.")
print(f"hooks() foresaw the order: {[hook.name for hook in listed] == fired}")
print(f"The trace has the order:   {traced == fired}")
