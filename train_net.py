#!/usr/bin/env python
"""Train one stage, or evaluate:  python train_net.py --config-file configs/shapes/teacher.yaml --num-gpus 0"""

from masqclip_d2.cli.train import main

if __name__ == "__main__":
    main()
