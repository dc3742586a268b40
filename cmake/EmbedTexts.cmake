# cmake -DOUTPUT=FILE.cc -DROOT=FOLDER -DNAMES=a.h,b.h -P EmbedTexts.cmake: FILE.cc defines regard::gpu::kernel_texts(), the named files of
# FOLDER word for word.
string(REPLACE "," ";" NAMES "${NAMES}")
set(entries "")
foreach(name IN LISTS NAMES)
  file(READ "${ROOT}/${name}" text)
  string(APPEND entries "    {\"${name}\", R\"embedded(${text})embedded\"},\n")
endforeach()
file(WRITE "${OUTPUT}" "// Written by EmbedTexts.cmake.
#include \"gpu/jit/kernel_texts.h\"

namespace regard::gpu {
namespace {

constexpr KernelText kTexts[] = {
${entries}};

}  // namespace

std::span<const KernelText> kernel_texts() { return kTexts; }

}  // namespace regard::gpu
")
