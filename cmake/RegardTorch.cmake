# tune_libtorch: LibTorch's headers and libraries, of a CPU build or a CUDA build. Our code includes no CUDA header, so
# that the folder of pip's torch package is enough to build for a GPU: neither Caffe2's CMake files, which ask for the
# CUDA toolkit, nor the NVIDIA libraries beside it are needed before run time.
set(REGARD_TORCH "" CACHE PATH
    "Folder of an installed torch package (python3 -c 'import torch; print(torch.__path__[0])'); empty: find_package(Torch)")

add_library(tune_libtorch INTERFACE)
if(REGARD_TORCH)
  if(NOT EXISTS ${REGARD_TORCH}/lib/libtorch_cpu.so)
    message(FATAL_ERROR "REGARD_TORCH=${REGARD_TORCH} holds no lib/libtorch_cpu.so: name the folder that "
                        "python3 -c 'import torch; print(torch.__path__[0])' prints")
  endif()
  file(STRINGS ${REGARD_TORCH}/share/cmake/Torch/TorchConfig.cmake old_abi REGEX "_GLIBCXX_USE_CXX11_ABI=0")
  if(old_abi)
    message(FATAL_ERROR "${REGARD_TORCH} was built with the string type of before C++11, which the system's libraries do "
                        "not have: install torch 2.7 or newer")
  endif()
  target_include_directories(tune_libtorch SYSTEM INTERFACE ${REGARD_TORCH}/include
                                                            ${REGARD_TORCH}/include/torch/csrc/api/include)
  set(torch_libraries "")
  foreach(name torch torch_cpu c10 torch_cuda c10_cuda)
    if(EXISTS ${REGARD_TORCH}/lib/lib${name}.so)
      list(APPEND torch_libraries ${REGARD_TORCH}/lib/lib${name}.so)
    endif()
  endforeach()
  # libtorch_cuda registers its kernels when it is loaded: nothing names it, and it must stay. What it needs itself is
  # found at run time through its own paths.
  target_link_libraries(tune_libtorch INTERFACE -Wl,--no-as-needed ${torch_libraries} -Wl,--as-needed)
  target_link_options(tune_libtorch INTERFACE -Wl,--allow-shlib-undefined)
else()
  find_package(Torch REQUIRED)
  target_include_directories(tune_libtorch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})
  target_link_libraries(tune_libtorch INTERFACE ${TORCH_LIBRARIES})
endif()
# GCC 13 sees a copy past the end in LibTorch's small vectors once they are inlined into our functions.
target_compile_options(tune_libtorch INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-array-bounds -Wno-stringop-overflow>)
