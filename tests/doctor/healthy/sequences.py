"""Recurrent nets, transformers, embeddings."""

from __future__ import annotations

import torch
from torch import nn

import hooktrace as ht

from .program import Tracing, evaluate, healthy, total, train


@healthy()
def lstm(trace: Tracing) -> ht.Trace:
    """Two layers in both directions, of which the last state classifies."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True, dropout=0.1)
            self.head = nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            outputs, _ = self.lstm(x)
            return self.head(outputs[:, -1])

    return train(trace, Net(), torch.randn(2, 5, 3))


@healthy()
def lstm_whose_hidden_state_classifies(trace: Tracing) -> ht.Trace:
    """Uses h and ignores the outputs and c."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(3, 4)
            self.head = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            _, (h, _) = self.lstm(x)
            return self.head(h[-1])

    return train(trace, Net(), torch.randn(5, 2, 3))


@healthy()
def gru_on_packed_sequences(trace: Tracing) -> ht.Trace:
    """Sequences of several lengths."""
    net = nn.GRU(3, 4)
    packed = nn.utils.rnn.pack_sequence([torch.randn(4, 3), torch.randn(2, 3)])
    optimizer = torch.optim.RMSprop(net.parameters())
    with trace(net) as t:
        for _ in range(2):
            optimizer.zero_grad()
            outputs, _ = net(packed)
            padded, lengths = nn.utils.rnn.pad_packed_sequence(outputs)
            (padded.square().sum() / lengths.sum()).backward()
            optimizer.step()
    return t


@healthy()
def truncated_backpropagation_through_time(trace: Tracing) -> ht.Trace:
    """The state is detached between windows: that is the truncation."""
    net = nn.ModuleDict({"rnn": nn.RNN(3, 4, batch_first=True), "head": nn.Linear(4, 3)})
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with trace(net) as t:
        state = torch.zeros(1, 2, 4)
        for window in torch.randn(2, 9, 3).split(3, dim=1):
            optimizer.zero_grad()
            outputs, state = net["rnn"](window, state.detach())
            nn.functional.mse_loss(net["head"](outputs), window).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
    return t


@healthy()
def an_lstm_cell_in_a_loop(trace: Tracing) -> ht.Trace:
    """One module, called at each time step."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTMCell(3, 4)
            self.head = nn.Linear(4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            state = None
            for step in x:
                state = self.cell(step, state)
            return self.head(state[0])

    return train(trace, Net(), torch.randn(4, 2, 3))


@healthy()
def sequence_to_sequence_with_attention(trace: Tracing) -> ht.Trace:
    """An encoder, a decoder with teacher forcing, and attention between them."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(10, 4, padding_idx=0)
            self.encoder = nn.GRU(4, 4, batch_first=True)
            self.decoder = nn.GRU(4, 4, batch_first=True)
            self.head = nn.Linear(8, 10)

        def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            memory, state = self.encoder(self.embed(source))
            outputs, _ = self.decoder(self.embed(target[:, :-1]), state)
            weights = torch.softmax(outputs @ memory.transpose(1, 2), -1)
            logits = self.head(torch.cat([outputs, weights @ memory], -1))
            return nn.functional.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten())

    source, target = torch.randint(1, 10, (2, 5)), torch.randint(1, 10, (2, 4))
    return train(trace, Net(), source, target)


@healthy()
def transformer_in_training(trace: Tracing) -> ht.Trace:
    """Encoder and decoder with masks."""
    net = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
    mask = nn.Transformer.generate_square_subsequent_mask(4)
    return train(trace, net, torch.randn(2, 5, 8), torch.randn(2, 4, 8), tgt_mask=mask)


@healthy()
def transformer_on_the_fast_path(trace: Tracing) -> ht.Trace:
    """In evaluation one fused kernel runs, and no child is called."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net = nn.TransformerEncoder(layer, 2)
    return evaluate(trace, net, torch.randn(2, 5, 8))


@healthy()
def transformer_in_evaluation_with_gradients(trace: Tracing) -> ht.Trace:
    """What attribution does: evaluation, with a graph."""
    net = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2).eval()
    x = torch.randn(2, 5, 8, requires_grad=True)
    with trace(net) as t:
        torch.autograd.grad(net(x).square().mean(), x)
    return t


class LanguageModel(nn.Module):
    """A causal transformer whose embedding is its head, too."""

    def __init__(self, *, tied: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(12, 8)
        self.position = nn.Parameter(torch.randn(6, 8) * 0.02)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 12, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
        x = self.embed(tokens) + self.position[: tokens.shape[1]]
        return self.head(self.body(x, mask=mask, is_causal=True))


@healthy()
def a_language_model_with_tied_weights(trace: Tracing) -> ht.Trace:
    """One matrix is embedding and head."""
    net = LanguageModel(tied=True)
    optimizer = torch.optim.AdamW(net.parameters())
    tokens = torch.randint(0, 12, (2, 7))
    with trace(net) as t:
        for _ in range(2):
            optimizer.zero_grad(set_to_none=True)
            logits = net(tokens[:, :-1])
            nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
    return t


@healthy()
def greedy_decoding(trace: Tracing) -> ht.Trace:
    """A language model writes, one token at a time."""
    net = LanguageModel(tied=False).eval()
    with trace(net) as t, torch.inference_mode():
        tokens = torch.tensor([[1]])
        for _ in range(3):
            tokens = torch.cat([tokens, net(tokens)[:, -1:].argmax(-1)], 1)
    return t


@healthy()
def attention_with_its_weights(trace: Tracing) -> ht.Trace:
    """Multi-head attention, whose weights are looked at and not trained."""
    net = nn.MultiheadAttention(8, 2, batch_first=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    x = torch.randn(2, 3, 8)
    with trace(net) as t:
        output, weights = net(x, x, x)
        assert weights.detach().sum() > 0
        output.square().mean().backward()
        optimizer.step()
    return t


@healthy()
def sparse_embeddings(trace: Tracing) -> ht.Trace:
    """Sparse gradients and the optimizer made for them."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(10, 4, sparse=True)
            self.bag = nn.EmbeddingBag(10, 4, mode="sum", sparse=True)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.embed(tokens).sum(1) + self.bag(tokens)

    net = Net()
    optimizer = torch.optim.SparseAdam(list(net.parameters()))
    with trace(net) as t:
        for _ in range(2):
            optimizer.zero_grad()
            total(net(torch.tensor([[1, 2], [3, 4]]))).backward()
            optimizer.step()
    return t
