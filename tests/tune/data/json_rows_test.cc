#include "tune/data/json_rows.h"

#include <gtest/gtest.h>

#include "tests/tune/data/temporary_folder.h"
#include "tune/error.h"
#include "tune/files/utf8.h"

namespace tune {
namespace {

std::vector<std::pair<int64_t, std::string>> rows_of(std::string_view content) {
  std::vector<std::pair<int64_t, std::string>> rows;
  for (const RowText& row : split_rows(content, "f.jsonl")) {
    rows.emplace_back(row.place.line, Row(row).text("a"));
  }
  return rows;
}

std::string error_of(const std::string& content) {
  return message_of<UsageError>([&] { rows_of(content); });
}

using Rows = std::vector<std::pair<int64_t, std::string>>;

}  // namespace

TEST(JsonRows, Lines_KeepTheirNumbersThroughBlankOnesAndCarriageReturns) {
  const Rows expected = {{1, "x"}, {4, "y"}, {5, "z"}};
  EXPECT_EQ(rows_of("\xef\xbb\xbf{\"a\":\"x\"}\r\n\r\n  \t\r\n{\"a\":\"y\"}\r\n{\"a\":\"z\"}"),
            expected);
}

TEST(JsonRows, Array_GivesItsElementsWithTheLineTheyStartOn) {
  const Rows expected = {{2, "x]},{\"\\"}, {4, "y"}};
  EXPECT_EQ(rows_of("[\n  {\"a\": \"x]},{\\\"\\\\\", \"b\": [1, {\"c\": []}]},\n\n"
                    "  {\n\"a\": \"y\"\n}\n]\n"),
            expected);
}

TEST(JsonRows, EmptyFilesAndArrays_HaveNoRows) {
  EXPECT_TRUE(rows_of("").empty());
  EXPECT_TRUE(rows_of("\n \n").empty());
  EXPECT_TRUE(rows_of(" [ ] ").empty());
}

TEST(JsonRows, InvalidJson_NamesFileAndLine) {
  EXPECT_EQ(error_of("{\"a\":\"x\"}\n{\"a\": }\n").substr(0, 25), "f.jsonl:2: invalid JSON: ");
  EXPECT_EQ(error_of("{\"a\":\"x\"}\n\n{\"a\":\"x\"} {}\n").substr(0, 11), "f.jsonl:3: ");
  EXPECT_EQ(error_of("[{\"a\":\"x\"},\n{\"a\" \"y\"}]").substr(0, 11), "f.jsonl:2: ");
}

TEST(JsonRows, BrokenArray_SaysWhatIsWrong) {
  EXPECT_EQ(error_of("[{\"a\":\"x\"},\n"), "f.jsonl:2: the array is never closed by ]");
  EXPECT_EQ(error_of("[\"open\n"), "f.jsonl:2: the array is never closed by ]");
  EXPECT_EQ(error_of("[\"\\"), "f.jsonl:1: the array is never closed by ]");
  EXPECT_NE(error_of("[{\"a\":\"x\"},\n]").find("f.jsonl:2: a comma before the end"),
            std::string::npos);
  EXPECT_NE(error_of("[{\"a\":\"x\"},,]").find("is empty"), std::string::npos);
  EXPECT_NE(error_of("[{\"a\":\"x\"}]\n{}").find("f.jsonl:2: text after the end"),
            std::string::npos);
  EXPECT_NE(error_of("[ } ]").find("a closing bracket too many"), std::string::npos);
}

TEST(JsonRows, RowThatIsNoObject_SaysWhatItIs) {
  EXPECT_EQ(error_of("3"),
            "f.jsonl:1: a row must be a JSON object with named fields; this is a number (3)");
  EXPECT_NE(error_of("\"text\"").find("this is a string"), std::string::npos);
  EXPECT_NE(error_of("[[1]]").find("this is an array"), std::string::npos);
}

TEST(JsonRows, MissingField_ListsTheFieldsThatAreThere) {
  EXPECT_EQ(error_of("{\"text\":\"x\",\"id\":1}"),
            "f.jsonl:1: missing field \"a\"; the fields here are: id, text");
  EXPECT_EQ(error_of("{}"), "f.jsonl:1: missing field \"a\"; the fields here are: (none)");
}

TEST(JsonRows, WrongType_SaysWhatItIs) {
  EXPECT_EQ(error_of("{\"a\":5}"), "f.jsonl:1: field \"a\" must be a string; it is a number (5)");
  EXPECT_EQ(error_of("{\"a\":null}"), "f.jsonl:1: field \"a\" must be a string; it is null");
}

TEST(JsonRows, InvalidUtf8_NamesLineAndByte) {
  EXPECT_EQ(error_of("{\"a\":\"x\"}\n{\"a\":\"\xff\"}"),
            "f.jsonl:2: invalid UTF-8 at byte 7 of the row; save the file as UTF-8");
}

TEST(JsonRows, BinaryFile_IsAnErrorOfItsFirstLine) {
  EXPECT_EQ(error_of(std::string("\x7f"
                                 "ELF\x02\x01\0\0",
                                 8))
                .substr(0, 11),
            "f.jsonl:1: ");
}

TEST(Utf8, ValidAndInvalidSequences_AreToldApart) {
  EXPECT_EQ(find_invalid_utf8("a\u00e9\u20ac\U0001f600\U0010ffff"), std::nullopt);
  // Overlong, surrogate, too large, cut off, lone continuation.
  for (std::string_view text :
       {"ab\xc0\xaf", "ab\xe0\x80\x80", "ab\xed\xa0\x80", "ab\xf4\x90\x80\x80", "ab\xe2\x82",
        "ab\x80", "ab\xf5\x80\x80\x80"}) {
    EXPECT_EQ(find_invalid_utf8(text), 2u);
  }
}

}  // namespace tune
