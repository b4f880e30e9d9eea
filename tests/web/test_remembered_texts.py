import torch

from masqclip_d2.web.remembered_texts import RememberedTexts


def test_each_text_is_encoded_once():
    calls = []

    def encode(texts):
        calls.append(list(texts))
        return torch.tensor([[float(len(text)), 1.0] for text in texts])

    remembered = RememberedTexts(encode, 3)
    assert remembered(["a", "bb", "a"]).tolist() == [[1, 1], [2, 1], [1, 1]]
    assert remembered(["ccc", "a"]).tolist() == [[3, 1], [1, 1]]
    assert calls == [["a", "bb"], ["ccc"]]
    remembered(["dddd"])
    remembered(["bb"])  # the least recently used one was dropped
    assert calls[2:] == [["dddd"], ["bb"]]
    assert len(remembered(["1", "2", "3", "4"])) == 4 and calls[-1] == ["1", "2", "3", "4"]
    remembered(["1"])
    assert calls[-1] == ["1"]  # long lists are not kept
