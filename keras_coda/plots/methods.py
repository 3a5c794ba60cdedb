"""Names and colours of methods in charts."""

NAMES = {
    "contributions": "contributions",
    "occlusion_5": "occlusion 5",
    "occlusion_9": "occlusion 9",
    "occlusion_13": "occlusion 13",
    "rise": "RISE",
    "lime_1": "LIME 1",
    "lime_4": "LIME 4",
    "grad_cam": "Grad-CAM",
    "integrated_gradients": "integrated gradients",
    "deep_lift": "DeepLIFT",
    "input_x_gradient": "input x gradient",
    "gradient": "gradient",
    "guided_backpropagation": "guided backpropagation",
    "smooth_grad": "SmoothGrad",
}

# Contributions have the red of positive contributions. Methods by perturbation, by activation and by gradient have a
# family of colours each.
COLOURS = {
    "contributions": "#b2182b",
    "occlusion_5": "#9ecae1",
    "occlusion_9": "#4292c6",
    "occlusion_13": "#08519c",
    "rise": "#6a51a3",
    "lime_1": "#9e9ac8",
    "lime_4": "#54278f",
    "grad_cam": "#238b45",
    "integrated_gradients": "#d94801",
    "deep_lift": "#8c6d31",
    "input_x_gradient": "#fdae6b",
    "gradient": "#737373",
    "guided_backpropagation": "#e377c2",
    "smooth_grad": "#17becf",
}


def display_name(method: str) -> str:
    """The display name of a method's key, such as "grad_cam"."""
    return NAMES.get(method, method)
