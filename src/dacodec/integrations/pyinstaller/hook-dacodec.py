"""What a frozen copy of dacodec needs besides the modules that PyInstaller finds by itself.

The names of ``import dacodec`` are loaded at first use, and the libraries with ctypes: it can see neither.
"""

from PyInstaller.utils.hooks import collect_data_files, collect_dynamic_libs, collect_submodules

hiddenimports = collect_submodules("dacodec", filter=lambda name: ".pyinstaller" not in name)
datas = collect_data_files("dacodec")
binaries = collect_dynamic_libs("dacodec", search_patterns=["*.so"])
