"""Moments of several images, together and one by one."""

from __future__ import annotations

import torch

from pca_protect.attack.posterior import Posterior, concatenate


def test_each_image_keeps_its_moments():
    both = Posterior(torch.rand(2, 4, 3, 5), torch.rand(2, 4, 3, 5))
    one, two = both.each()
    for number, image in enumerate((one, two)):
        assert torch.equal(image.mean, both.mean[number : number + 1])
        assert image.logvar is not None
        assert both.logvar is not None
        assert torch.equal(image.logvar, both.logvar[number : number + 1])
    again = concatenate([one, two])
    assert torch.equal(again.mean, both.mean)
    assert [image.logvar for image in Posterior(both.mean, None).each()] == [None, None]
