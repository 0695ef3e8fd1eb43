"""What the docstrings of all classifiers have in common."""

SHARED_PARAMETERS = """\
lr : float or "auto", default="auto"
        Peak learning rate. "auto": 1e-2 if batch, group or instance normalisation follows every
        convolution and linear layer but the last, 3e-3 if it follows some of them, 1e-3 without
        any and with trained `weights`; ten times as much with ``optimizer="sgd"``. Optimizer
        classes outside Adam's family use the default of their constructor.
    batch_size : int or "auto", default="auto"
        Largest number of images in a training step. The images are dealt into batches that differ
        by at most one image, so that none is short. "auto": 32 up to 12,799 images, then 64, 128
        and 256, doubled each time their number doubles.
    max_epochs : int or "auto", default="auto"
        Passes over the training images, at most. "auto": 600 / √n for n distinct images, at
        most 60 and at least 18: 27 epochs for 500 images, 19 for 1,000. Beyond 10,000 images
        180,000 / n, at least 12.
    optimizer : {"adam", "adamw", "sgd"} or torch.optim.Optimizer subclass, default="adamw"
        A subclass is given `lr`, and `weight_decay` if it takes it.
    momentum : float, default=0.9
        Only used when ``optimizer="sgd"``.
    weight_decay : float, default=None
        As the optimizer defines it. None: its own default, which is 0.01 for "adamw" and 0 for
        "adam" and "sgd".
    lr_schedule : {"one_cycle", "cosine"}, torch scheduler class or None, default="one_cycle"
        "one_cycle": up to `lr` and down to 0, once a batch. "cosine": annealed to 0, once an epoch.
        Anything that makes a torch scheduler from an optimizer, as
        ``functools.partial(StepLR, step_size=5)``, is stepped once an epoch. None: constant.
    early_stopping : bool or "auto", default="auto"
        True: set `validation_fraction` of the images aside, stop when the accuracy on them, or the
        loss at the same accuracy, has not improved for `patience` epochs, and restore the weights
        of the best epoch. False: train on all images for `max_epochs`. "auto": True where
        `max_epochs` is a number or validation data are given to `fit`. A number of epochs that
        follows the data needs no watching, and all images are worth more in training.
    patience : int or "auto", default="auto"
        Epochs without improvement; only used with early stopping. Under a schedule that
        depends on `max_epochs`, as "cosine" and "one_cycle" do, those of its last third count.
        "auto": 6, or a fifth of an automatic `max_epochs` if that is more.
    validation_fraction : float, default=0.1
        Share of the distinct images set aside, stratified by class, at least one image of each
        class that has two; only used with early stopping and where no validation data are given to
        `fit`.
    image_shape : tuple of int, default=None
        (H, W), (C, H, W) or (H, W, C) of the images behind a flat 2-D X. None: a grey square if
        that fits, else a square of three channels (channels last), else one row of pixels.
    image_size : int or "auto", default="auto"
        Side in pixels to which images are resized (squashed) on the device. "auto": as they are,
        but no side smaller than the network takes.
    normalize : bool or "imagenet", default=True
        Subtract the mean and divide by the standard deviation, per channel: of the images given
        to `fit` for training, or, with `weights` of torchvision by name, or by path under the name
        of its file, of those that the weights were trained on. "imagenet": the mean and the
        standard deviation of ImageNet's images.
    augment : str, callable or list of these, default=None
        "standard": shift by up to an eighth and mirror, at random for every image. "strong": also
        change brightness, contrast and, of colour images, saturation, and blank out a square.
        "mirror": left to right, or not. "rotation": by up to 15 degrees. "resized_crop": 8–100 % of
        the image, of 3/4–4/3 times its height in width, becomes an image of the network's size; it
        is cut out before anything is resized, so that larger images keep their detail. A transform
        of torchvision is applied to one image at a time. Any other callable takes a float32 batch
        (n, C, H, W) on the device, already divided as `fit` divides, and returns one of the same
        shape. Several are applied in turn, but "resized_crop" comes first. None: nothing.
    mixing : {"mixup", "cutmix"}, default=None
        "mixup": train on sums of two images, in shares drawn for each batch, with targets in the
        same shares. "cutmix": a rectangle of another image instead. None: neither. The training
        accuracy is then that of the images with the larger shares at best, and low.
    label_smoothing : float, default=0.1
        Share of the target probability spread over all classes, in [0, 1).
    max_grad_norm : float, default=None
        Norm of the gradients of all parameters together, down to which larger ones are scaled
        before each step. None: they are taken as they are.
    class_weight : dict or "balanced", default=None
        Weight of each class, by which the weights of its images are multiplied in training and
        validation. "balanced": inversely proportional to the total weight of its images; not
        allowed in `partial_fit`.
    ema : float, default=None
        Decay of an exponential moving average of the weights, in [0, 1), as 0.99: after each step,
        the share of the old average, less at first. The average is what is validated and kept.
        None: the weights themselves. Not used by `partial_fit`.
    tta : bool, default=False
        Predict from the mean of the logits of each image and its mirror image. Needs no new fit.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Precision used for training; predictions use float32. "auto": bfloat16 where the device
        computes in it and, on the CPU, most of the work is in layers of 24 channels or more;
        float32 otherwise. The choice depends on the network, the size of the images and the
        processor alone.
    compile : bool, default=False
        Train through ``torch.compile``. It takes its time at first: for long fits.
    on_oom : {"raise", "split"}, default="raise"
        Where the device has no memory for a batch in training: an error, or "split", train on it
        in parts, halved until they fit, whose gradients are added up to those of the batch. A
        warning says how large they are; batch normalisation and dropout see the parts. Not
        together with `data_parallel`.
    data_parallel : bool, default=False
        Share each batch among the processes that ``accelerate launch`` or ``torchrun`` started, all
        of which run the same program; `batch_size` is that of all together. In one process, nothing
        changes. Needs the extra ``skcnn[distributed]``. Not together with `memory` or
        `checkpoint_dir`.
    device : str or torch.device, default="auto"
        "auto": cuda, then mps, then cpu.
    data_device : {"auto", "cpu"}, default="auto"
        Where the images are during a fit. "auto": on the device of training, resized once, if that
        fits into half of its free memory (on the CPU, an eighth for resized images); otherwise as
        "cpu": where they are, prepared batch by batch while the one before trains.
    callbacks : list, default=None
        More skorch callbacks, instances or (name, callback) pairs; used as they are. One that
        raises KeyboardInterrupt, as those of skorch do, ends the fit: the epoch under way becomes
        the last. Beside an `LRScheduler`, set ``lr_schedule=None``.
    memory : str, path or joblib.Memory, default=None
        Folder in which fits are kept, after every epoch. The same fit, of the same class,
        parameters, data, versions and number of threads, comes back at once, and one that was
        killed goes on after its last epoch, both to the same bytes. One of more epochs goes on from
        a shorter one, where the schedule does not depend on `max_epochs`. A callback with the
        attribute ``changes_fit = False`` may differ. None: nothing is kept. Not used by
        `partial_fit`, nor where `warm_start` goes on.
    checkpoint_dir : str or path, default=None
        Folder of this one fit, in which its state is kept after every epoch, or after as many as it
        takes for writing not to slow the fit down. The same fit goes on from there, to the same
        bytes; another one is refused, with what differs. None: nothing is kept. Not together with
        `memory`; not used by `partial_fit`.
    n_threads : int, default=None
        CPU threads of a fit and of its predictions. None: torch's current setting. The number of
        threads changes the rounding, and so the result.
    weights : mapping, str, path or torchvision weights enum, default=None
        Trained weights to start from: a ``state_dict``; a path to one, as safetensors or as a torch
        file, of which only tensors are read; or torchvision's, as "DEFAULT", "IMAGENET1K_V1" or an
        enum, which are downloaded once. First convolution and head are adapted to the channels and
        classes of the data, with a warning. None: random weights.
    freeze : "features", str, list of str or int, default=None
        What is not trained, batch normalisation included. "features": all but the head. Other str:
        patterns of names of layers, as "layer1" or "features.[0-6]". An int k: the first k linear
        and convolutional layers. None: nothing.
    features_layer : str, default=None
        Name of the layer whose output `transform` gives, feature maps (n, C, H, W) averaged over
        their pixels; `layer_shapes` lists layers. None: what the head takes.
    warm_start : bool, default=False
        `fit` goes on from the weights of the last one; optimizer and schedule start anew. The same
        images are set aside as in the first fit. With another `freeze`, it unfreezes.
    deterministic : bool, default=False
        Let torch use only algorithms that give the same bytes each time, which on GPUs costs speed.
        An error where there is no such algorithm. On the CPU, fits with a `random_state` repeat
        without it. Predictions use batches of one size, so that an image has the same bytes in any
        request.
    random_state : int, RandomState instance or None, default=None
        Seeds everything: initialisation, split, order, dropout, augmentation. With an int, the
        same data and the same number of threads give the same bytes, in any process.
    verbose : int, default=0
        1: a progress bar. 2: a line for each epoch."""

SHARED_ATTRIBUTES = """\
classes_ : ndarray of shape (n_classes,)
        Labels, sorted, of the type they had in y.
    n_features_in_ : int
        Values in one image; 1 where X was a column of paths.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns; only when X was a DataFrame with string names.
    image_shape_ : tuple of int
        (C, H, W) of the images given to `fit`.
    file_options_ : dict
        How the images were read from files, as :class:`~skcnn.ImageFiles` takes it: new files are
        read so with ``ImageFiles(paths, **clf.file_options_)``, which giving the paths does too.
        Empty where X was no collection of files.
    input_size_ : tuple of int
        (H, W) that the network sees.
    net_ : skorch.NeuralNetClassifier
        What trains and predicts.
    module_ : torch.nn.Module
        The trained network.
    history_ : list of dict
        One per epoch: ``epoch``, ``train_loss``, ``train_acc``, ``lr``, ``dur`` (seconds), and,
        with validation, ``valid_loss`` and ``valid_acc``. All weighted, if there are weights.
    lr_ : float
        Peak learning rate of the last call of `fit` or `partial_fit`.
    batch_size_ : int
        Largest number of images in a training step of the last call.
    max_epochs_ : int
        Passes over the training images of the last call, at most.
    n_epochs_ : int
        Epochs trained.
    best_epoch_ : int
        Number, from 1, of the epoch whose weights are kept.
    device_ : torch.device
        Where the network is.
    precision_ : {"float32", "bfloat16"}
        Precision of training.
    memory_format_ : {"contiguous", "channels_last"}
        Layout of memory in training."""


def shares_parameters(cls: type) -> type:
    """Fill in the parts of the class docstring that all classifiers have in common."""
    cls.__doc__ = (
        (cls.__doc__ or "")
        .replace("{shared_parameters}", SHARED_PARAMETERS)
        .replace("{shared_attributes}", SHARED_ATTRIBUTES)
    )
    return cls
