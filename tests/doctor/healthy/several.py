"""Steps in which several models or several derivatives take part."""

from __future__ import annotations

import copy

import torch
from torch import nn

import hooktrace as ht

from .program import Tracing, healthy, small, total


@healthy()
def a_gan_step(trace: Tracing) -> ht.Trace:
    """The discriminator learns on detached fakes, then the generator through it."""
    generator, critic = small(2, 4), small(4, 1)
    first = torch.optim.Adam(generator.parameters())
    second = torch.optim.Adam(critic.parameters())
    loss = nn.functional.binary_cross_entropy_with_logits
    ones, zeros = torch.ones(3, 1), torch.zeros(3, 1)
    with trace({"generator": generator, "critic": critic}) as t:
        for _ in range(2):
            fakes = generator(torch.randn(3, 2))
            second.zero_grad()
            (loss(critic(torch.randn(3, 4)), ones) + loss(critic(fakes.detach()), zeros)).backward()
            second.step()
            first.zero_grad()
            loss(critic(fakes), ones).backward()
            first.step()
    return t


@healthy()
def a_wasserstein_gan_with_gradient_penalty(trace: Tracing) -> ht.Trace:
    """The gradient of the critic is part of its loss: create_graph."""
    critic = nn.Sequential(nn.Linear(4, 8), nn.Softplus(), nn.Linear(8, 1))
    optimizer = torch.optim.Adam(critic.parameters())
    with trace(critic) as t:
        for _ in range(2):
            real, fake = torch.randn(3, 4), torch.randn(3, 4)
            mixed = torch.lerp(real, fake, torch.rand(3, 1)).requires_grad_()
            (gradient,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
            penalty = (gradient.norm(dim=1) - 1).square().mean()
            optimizer.zero_grad()
            (critic(fake).mean() - critic(real).mean() + 10 * penalty).backward()
            optimizer.step()
    return t


@healthy()
def a_physics_informed_net(trace: Tracing) -> ht.Trace:
    """Second derivatives with respect to the input are the loss."""
    net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = torch.optim.Adam(net.parameters())
    with trace(net) as t:
        x = torch.linspace(0, 1, 5).unsqueeze(1).requires_grad_()
        u = net(x)
        (first,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x, create_graph=True)
        (second + u).square().mean().backward()
        optimizer.step()
    return t


@healthy()
def meta_learning_through_an_inner_step(trace: Tracing) -> ht.Trace:
    """MAML: the outer gradient goes through the inner one."""
    net = small()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with trace(net) as t:
        parameters = dict(net.named_parameters())
        inner = total(torch.func.functional_call(net, parameters, (torch.randn(3, 4),)))
        gradients = torch.autograd.grad(inner, list(parameters.values()), create_graph=True)
        adapted = {
            name: parameter - 0.1 * gradient
            for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True)
        }
        total(torch.func.functional_call(net, adapted, (torch.randn(3, 4),))).backward()
        optimizer.step()
    return t


@healthy()
def distillation(trace: Tracing) -> ht.Trace:
    """A teacher in evaluation without gradients, a student that learns."""
    teacher, student = small(4, 3).eval().requires_grad_(False), small(4, 3)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    with trace({"teacher": teacher, "student": student}) as t:
        for _ in range(2):
            x = torch.randn(3, 4)
            with torch.no_grad():
                target = teacher(x).softmax(-1)
            optimizer.zero_grad()
            nn.functional.cross_entropy(student(x), target).backward()
            optimizer.step()
    return t


@healthy()
def a_momentum_teacher(trace: Tracing) -> ht.Trace:
    """BYOL: the target is a slow copy of the online net."""
    online, predictor = small(4, 4), nn.Linear(4, 4)
    target = copy.deepcopy(online).requires_grad_(False)
    optimizer = torch.optim.SGD([*online.parameters(), *predictor.parameters()], lr=0.1)
    with trace({"online": online, "predictor": predictor, "target": target}) as t:
        for _ in range(2):
            left, right = torch.randn(3, 4), torch.randn(3, 4)
            with torch.no_grad():
                goal = target(right)
            optimizer.zero_grad()
            (1 - nn.functional.cosine_similarity(predictor(online(left)), goal)).mean().backward()
            optimizer.step()
            with torch.no_grad():
                for slow, fast in zip(target.parameters(), online.parameters(), strict=True):
                    slow.lerp_(fast, 0.1)
    return t


@healthy()
def siamese_twins(trace: Tracing) -> ht.Trace:
    """One encoder, called twice."""
    net = small(4, 3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with trace(net) as t:
        left, right, far = net(torch.randn(3, 4)), net(torch.randn(3, 4)), net(torch.randn(3, 4))
        nn.functional.triplet_margin_loss(left, right, far).backward()
        optimizer.step()
    return t


@healthy()
def a_variational_autoencoder(trace: Tracing) -> ht.Trace:
    """Reparametrized sampling in the middle."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = nn.Linear(4, 6), nn.Linear(3, 4)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            mean, deviation = self.encoder(x).chunk(2, -1)
            z = mean + torch.randn_like(mean) * (0.5 * deviation).exp()
            return self.decoder(z), mean, deviation

    net = Net()
    optimizer = torch.optim.Adam(net.parameters())
    with trace(net) as t:
        for _ in range(2):
            x = torch.randn(3, 4)
            optimizer.zero_grad()
            output, mean, deviation = net(x)
            divergence = -0.5 * (1 + deviation - mean.square() - deviation.exp()).mean()
            (nn.functional.mse_loss(output, x) + divergence).backward()
            optimizer.step()
    return t


@healthy()
def a_vector_quantizer(trace: Tracing) -> ht.Trace:
    """The straight-through estimator: a detach that is meant."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = nn.Linear(4, 3), nn.Linear(3, 4)
            self.codes = nn.Embedding(5, 3)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            z = self.encoder(x)
            code = self.codes(torch.cdist(z, self.codes.weight).argmin(-1))
            commitment = (code - z.detach()).square() + 0.25 * (code.detach() - z).square()
            return self.decoder(z + (code - z).detach()), commitment

    net = Net()
    optimizer = torch.optim.Adam(net.parameters())
    with trace(net) as t:
        x = torch.randn(6, 4)
        output, commitment = net(x)
        (nn.functional.mse_loss(output, x) + commitment.mean()).backward()
        optimizer.step()
    return t


@healthy()
def q_learning_with_a_target_net(trace: Tracing) -> ht.Trace:
    """The target bootstraps without gradients and is copied now and then."""
    net, target = small(4, 2), small(4, 2).requires_grad_(False)
    target.load_state_dict(net.state_dict())
    optimizer = torch.optim.Adam(net.parameters())
    with trace({"net": net, "target": target}) as t:
        for _ in range(2):
            now, then, actions = torch.randn(3, 4), torch.randn(3, 4), torch.randint(0, 2, (3, 1))
            with torch.no_grad():
                goal = 1 + 0.9 * target(then).amax(1, keepdim=True)
            optimizer.zero_grad()
            nn.functional.smooth_l1_loss(net(now).gather(1, actions), goal).backward()
            optimizer.step()
        target.load_state_dict(net.state_dict())
    return t


@healthy()
def actor_and_critic(trace: Tracing) -> ht.Trace:
    """The advantage is detached in the actor's loss."""
    net = nn.ModuleDict({"trunk": small(4, 8), "actor": nn.Linear(8, 2), "critic": nn.Linear(8, 1)})
    optimizer = torch.optim.Adam(net.parameters())
    with trace(net) as t:
        features = net["trunk"](torch.randn(5, 4)).relu()
        policy = torch.distributions.Categorical(logits=net["actor"](features))
        values = net["critic"](features).squeeze(1)
        actions = policy.sample()
        advantage = torch.randn(5) - values
        losses = -policy.log_prob(actions) * advantage.detach() + advantage.square()
        losses.mean().backward()
        optimizer.step()
    return t


@healthy()
def an_attack_by_the_sign_of_the_gradient(trace: Tracing) -> ht.Trace:
    """FGSM: only the input is differentiated."""
    net = small(4, 3).eval()
    with trace(net) as t:
        x = torch.rand(2, 4, requires_grad=True)
        loss = nn.functional.cross_entropy(net(x), torch.tensor([0, 1]))
        (gradient,) = torch.autograd.grad(loss, x)
        with torch.no_grad():
            net((x + 0.1 * gradient.sign()).clamp(0, 1))
    return t


@healthy()
def an_input_that_is_optimized(trace: Tracing) -> ht.Trace:
    """Style transfer in small: the net is frozen, the image learns."""
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GELU()).eval().requires_grad_(False)
    image = torch.rand(1, 1, 5, 5, requires_grad=True)
    optimizer = torch.optim.Adam([image], lr=0.1)
    with trace(net) as t:
        for _ in range(2):
            optimizer.zero_grad()
            total(net(image) - 1).backward()
            optimizer.step()
            with torch.no_grad():
                image.clamp_(0, 1)
    return t


@healthy()
def integrated_gradients(trace: Tracing) -> ht.Trace:
    """Attribution by gradients along a line."""
    net = small(4, 3).eval()
    with trace(net) as t:
        x = torch.randn(1, 4)
        line = (torch.linspace(0, 1, 5).unsqueeze(1) * x).requires_grad_()
        (gradients,) = torch.autograd.grad(net(line)[:, 1].sum(), line)
        assert (gradients.mean(0) * x).shape == (1, 4)
    return t


@healthy()
def a_diffusion_step(trace: Tracing) -> ht.Trace:
    """Predicts the noise that was added."""
    net = small(5, 4)
    optimizer = torch.optim.AdamW(net.parameters())
    with trace(net) as t:
        for _ in range(2):
            x, noise, when = torch.randn(3, 4), torch.randn(3, 4), torch.rand(3, 1)
            noisy = (1 - when).sqrt() * x + when.sqrt() * noise
            optimizer.zero_grad()
            nn.functional.mse_loss(net(torch.cat([noisy, when], 1)), noise).backward()
            optimizer.step()
    return t
