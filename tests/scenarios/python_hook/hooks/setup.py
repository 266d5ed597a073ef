from hooks import arithmetic


def warm(sandbox):
    numbers = sandbox.read("/workspace/numbers.txt").split()
    sandbox.write("/workspace/sum.txt", f"{arithmetic.total(int(number) for number in numbers)}\n")
    sandbox.upload("data", "/workspace/data")
    print("the hook prints:", sandbox.run("id -un").stdout.strip())
