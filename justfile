set positional-arguments

# List the recipes.
default:
    @"{{ just_executable() }}" --list

# Fetch MLX, libclang and mlx-c into .deps (a second run takes no time).
setup:
    @python3 setup/bootstrap.py deps
