"""Every kind of hook on AlexNet, each with something to see.

Change a copy of it and run that: the demo writes this file anew.
"""

from collections import Counter

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils.hooks import RemovableHandle

import hooktrace as ht

notes = []  # what the hooks that only look have seen
counts = Counter()  # class of a module -> how often one was called


def look_at_the_picture(module, args, kwargs):
    """Sees what the model is called with, before anything is computed."""
    notes.append(f"AlexNet gets {tuple(args[0].shape)}")


def silence_channel_0(module, args, output):
    """Writes zeros over channel 0 of the output, in place: an ablation in one line."""
    output[:, 0] = 0


def look_first(module, args, output):
    """Registered after silence_channel_0 but fires before it, thanks to prepend=True."""
    notes.append(f"channel 0 of features.0 has mean {output[:, 0].mean():.4f}")


def look_at_the_scores(module, args, kwargs, output):
    """Sees the 1000 scores; with always_call=True it fires even where forward has raised."""
    notes.append(f"the highest score is {output.max():.4f}")


def count_calls(module, args, output):
    """Hangs on no single module: a global hook fires after the forward of each of them."""
    counts[type(module).__name__] += 1


def halve_gradient(module, grad_output):
    """Halves the gradient that enters avgpool: all layers before it get half as much."""
    return (grad_output[0] / 2,)


def look_at_gradients(module, grad_input, grad_output):
    """Sees the gradients on both sides of the module once they are computed."""
    notes.append(f"features.2 passes on a gradient of norm {grad_input[0].norm():.6f}")


def look_the_old_way(module, grad_input, grad_output):
    """The legacy kind: grad_input is that of the last autograd node, not of the module."""
    notes.append(f"the legacy hook gets {len(grad_input)} grad_inputs for one input")


def double_gradient(grad):
    """Returns twice the gradient of a weight, before it is added to .grad."""
    return grad * 2


def clip_gradient(parameter):
    """Runs when .grad is complete, and cuts it to [-0.01, 0.01] in place."""
    parameter.grad.clamp_(-0.01, 0.01)


def register(model: nn.Module) -> list[RemovableHandle]:
    """Put the hooks on AlexNet; removing the handles takes them off again."""
    at = model.get_submodule
    return [
        model.register_forward_pre_hook(look_at_the_picture, with_kwargs=True),
        at("features.0").register_forward_hook(silence_channel_0),
        at("features.0").register_forward_hook(look_first, prepend=True),
        at("classifier.6").register_forward_hook(
            look_at_the_scores, with_kwargs=True, always_call=True
        ),
        register_module_forward_hook(count_calls),
        at("avgpool").register_full_backward_pre_hook(halve_gradient),
        at("features.2").register_full_backward_hook(look_at_gradients),
        at("classifier.6").register_backward_hook(look_the_old_way),
        model.get_parameter("features.0.weight").register_hook(double_gradient),
        model.get_parameter("classifier.6.bias").register_post_accumulate_grad_hook(clip_gradient),
    ]


def watch(model: nn.Module, images: Tensor, labels: Tensor) -> ht.Trace:
    """Run the model forward and backward, with the hooks, under a trace."""
    criterion = nn.CrossEntropyLoss()
    with ht.trace(model, keep=["features.*", "classifier.6"]) as t:
        handles = register(model)
        loss = criterion(model(images), labels)
        loss.backward()
    for handle in handles:
        handle.remove()
    return t


if __name__ == "__main__":
    from torchvision.models import alexnet

    torch.manual_seed(0)
    print(watch(alexnet().eval(), torch.randn(1, 3, 224, 224), torch.tensor([285])))
